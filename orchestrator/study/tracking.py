"""Where runs are tracked."""

from pydantic import Field, field_validator

from orchestrator.study.settings import Settings


class Tracking(Settings):
    """MLflow, which records parameters and results of each trial."""

    uri: str | None = Field(None, description="tracking URI; an SQLite file beside a local store by default")
    experiment: str = Field("offmodel", description="the name of the MLflow experiment")

    @field_validator("uri")
    @classmethod
    def _no_password(cls, uri: str | None) -> str | None:
        if uri is not None and uri.startswith("http") and "@" in uri:
            raise ValueError(
                "a password does not belong in a study file: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri
