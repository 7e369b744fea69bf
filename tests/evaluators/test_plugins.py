"""A package of plug-ins: one file is enough for a new one."""

import sys

import pytest

from evaluators.plugins import Plugins


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    package = tmp_path / "shapes"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_helper.py").write_text("")
    (package / "square.py").write_text("CORNERS = 4\n")
    (package / "broken.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Plugins("shapes", "shape")
    for name in [name for name in sys.modules if name.partition(".")[0] == "shapes"]:
        del sys.modules[name]


def test_public_modules_are_plugins_and_are_imported_on_first_use(plugins):
    assert plugins.names() == tuple(plugins) == ("broken", "square")
    assert plugins.module("square").CORNERS == 4
    assert plugins.module("square") is plugins.module("square")
    assert "square" in plugins
    assert "_helper" not in plugins


def test_a_part_that_a_module_leaves_out_has_its_default(plugins):
    square = Plugins("shapes", "shape", defaults={"CORNERS": 3, "SIDES": 4}).module("square")
    assert (square.CORNERS, square.SIDES) == (4, 4)


def test_an_unknown_name_is_refused_with_a_suggestion(plugins):
    with pytest.raises(ValueError, match=r'there is no shape "sqare"; did you mean "square"\?'):
        plugins.module("sqare")
    with pytest.raises(ValueError, match=r'there is no shape "_helper"'):
        plugins.module("_helper")


def test_a_file_without_a_part_is_refused_with_its_name(plugins, tmp_path):
    strict = Plugins("shapes", "shape", ("CORNERS", "AREA"))
    with pytest.raises(ValueError, match=r"square\.py: this shape does not define AREA$"):
        strict.module("square")
    (tmp_path / "shapes" / "square.py").write_text("CORNERS = 4\nAREA = None\n")
    del sys.modules["shapes.square"]
    with pytest.raises(ValueError, match="does not define AREA"):
        strict.module("square")
    assert Plugins("shapes", "shape", ("CORNERS",)).module("square").CORNERS == 4


def test_a_folder_added_to_the_package_adds_its_plugins(plugins, tmp_path, monkeypatch):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "star.py").write_text("CORNERS = 5\n")
    plugins.module("square")
    monkeypatch.setattr(sys.modules["shapes"], "__path__", [*sys.modules["shapes"].__path__, str(tmp_path / "more")])
    assert plugins.names() == ("broken", "square", "star")
    assert plugins.module("star").CORNERS == 5
