"""What the endpoint passes on, to whom, and what it refuses."""

import json

import pytest
from starlette.testclient import TestClient

from orchestrator.serving.router import router
from orchestrator.serving.servers import Servers
from tests.api_server import chat_server

ASKED = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def behind():
    """A real HTTP server in the place of vLLM's."""
    with chat_server() as said:
        yield said


def endpoint(behind, key: str | None = None) -> TestClient:
    class Server:
        url = behind.served.base_url.removesuffix("/v1")

        async def stop(self) -> None:
            pass

    async def start(base: str, place: int) -> Server:
        if base == "broken":
            raise RuntimeError("vLLM's server ended with status 1")
        return Server()

    bases = {"student": "one", "student.terse.s1": "one", "other": "broken"}
    return TestClient(router(bases, Servers(start, 1), "key-behind", key))


def test_a_request_reaches_the_server_of_its_model(behind):
    with endpoint(behind) as client:
        answer = client.post("/v1/chat/completions", json={"model": "student.terse.s1", **ASKED})
    assert answer.json()["choices"][0]["message"]["content"] == "You said: hello"
    assert behind.bodies == [{"model": "student.terse.s1", **ASKED}]
    assert behind.keys == {"Bearer key-behind"}


def test_status_and_body_of_an_error_are_passed_on(behind):
    behind.replies = lambda body, nth: (400, {"error": {"message": "too long"}})
    with endpoint(behind) as client:
        answer = client.post("/v1/chat/completions", json={"model": "student", **ASKED})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "too long")


def test_the_models_are_listed(behind):
    with endpoint(behind) as client:
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == [
            "student",
            "student.terse.s1",
            "other",
        ]
        assert client.get("/health").is_success


@pytest.mark.parametrize("given", [{}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}])
def test_without_the_key_nothing_is_answered(behind, given):
    with endpoint(behind, key="secret") as client:
        for answer in (
            client.post("/v1/chat/completions", json={"model": "student", **ASKED}, headers=given),
            client.get("/v1/models", headers=given),
        ):
            assert (answer.status_code, answer.json()["error"]["type"]) == (401, "AuthenticationError")
            assert "secret" not in answer.text
        right = {"authorization": "Bearer secret"}
        assert client.post("/v1/chat/completions", json={"model": "student", **ASKED}, headers=right).is_success
    assert len(behind.bodies) == 1
    assert behind.keys == {"Bearer key-behind"}


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (json.dumps({"model": "studnt", **ASKED}), 404, "there is no model 'studnt': /v1/models lists"),
        (json.dumps(ASKED), 400, 'with "model"'),
        ("[]", 400, 'with "model"'),
        ("{", 400, 'with "model"'),
        (json.dumps({"model": "other", **ASKED}), 502, "the server of other failed: vLLM's server ended with status 1"),
        (json.dumps({"model": ["student"], **ASKED}), 404, "there is no model"),
    ],
)
def test_what_cannot_be_answered_says_why(behind, content, status, message):
    with endpoint(behind) as client:
        answer = client.post("/v1/chat/completions", content=content)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]
    assert behind.bodies == []
