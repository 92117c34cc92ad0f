"""Upload the model of a finished run to the Hub (`push_to_hub`), and check before the run whether that can work."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from .pretrained.publishing import Destination, PublishingError, destination_problems, plan_upload, send
from .settings.arguments import RunArguments


def upload_problems(run: RunArguments) -> Iterator[str]:
    """Yield why the model could not be uploaded at the end, one line each: nothing says where to, there is no token,
    it does not belong to the owner, ..."""
    if not run.push_to_hub:
        return
    if run.hub_model_id is None:
        yield "hub_model_id: set the repository that push_to_hub uploads to, for example your-name/en-de"
        return
    for problem in destination_problems(_destination(run, run.hub_model_id)):
        yield f"push_to_hub: {problem}"


def upload_model(run: RunArguments) -> str:
    """Check the model in the output folder of a run and upload it in one commit; return the URL of the commit.

    Raises:
        PublishingError: it has problems, or the Hub refuses it. The folder is unchanged, and the message has the
            command that tries again.
    """
    repo_id = str(run.hub_model_id)
    destination = _destination(run, repo_id)
    try:
        return send(run.folder, plan_upload(run.folder, destination), destination, "Upload a Sineformer model")
    except PublishingError as error:
        retry = ["sineformer-push", str(run.folder), repo_id, *([] if run.hub_private_repo else ["--public"])]
        raise PublishingError(
            f"the model in {run.folder} is complete, but was not uploaded: {error}\nTo try again: {shlex.join(retry)}"
        ) from error


def _destination(run: RunArguments, repo_id: str) -> Destination:
    return Destination(repo_id, private=run.hub_private_repo)
