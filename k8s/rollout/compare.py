"""Comparing a new cluster with the one that serves: both caption the same images, one after the other."""

import json
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from k8s.clients.pods import Answer, Pods
from k8s.clients.retry import Clock, Retry
from k8s.errors import RefusedError, RolloutError, UnreachableError, UsageError
from k8s.planning.comparison import CaptionAnswer, CaptionPair, ModelComparison
from k8s.planning.proposal import Proposal
from k8s.planning.verdict import HOLD
from k8s.resources.rayservice import serve_applications
from k8s.resources.snapshot import Snapshot
from k8s.rollout.smoke_test import Send, caption_request, error_code, sender

Json = Mapping[str, Any]

IMAGE_TYPES = ("image/gif", "image/jpeg", "image/png", "image/webp")
# A port-forward that breaks is no failed caption.
RETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class CaptionComparer:
    """Captions sample images, on the cluster that serves and on the pending one."""

    pods: Pods
    images: Sequence[Path]
    key: str | None
    say: Callable[[str], None]
    clock: Clock

    def check_baseline(self, proposal: Proposal, seen: Snapshot) -> None:
        """Caption the first image on the cluster that serves.

        Raises RefusedError where the change starts no new cluster, or a model does not caption it.
        """
        _check_new_cluster(proposal)
        active = seen.service.active if seen.service else ""
        send = sender(self.pods.request, seen.pods, active)
        for model, path in shared_models(proposal).items():
            answer = self._caption(send, path, self.images[0])
            if answer.error:
                raise RefusedError(
                    f"{model}: {active} does not caption {self.images[0].name} ({answer.error}), so "
                    "there is nothing to compare with. Nothing was changed. Choose images that the model "
                    "captions, or set CAPSTAN_API_KEY if it requires a key"
                )

    def compare(self, proposal: Proposal, seen: Snapshot, *, timeout_s: float) -> list[ModelComparison]:
        """Caption every image on both clusters. Raises RolloutError after `timeout_s` seconds."""
        end = self.clock.monotonic() + timeout_s
        clusters = (seen.service.active, seen.service.pending) if seen.service else ("", "")
        old, new = (sender(self.pods.request, seen.pods, name) for name in clusters)
        found = []
        for model, path in shared_models(proposal).items():
            pairs: list[CaptionPair] = []
            for image in self.images:
                if self.clock.monotonic() >= end:
                    raise RolloutError(
                        f"the comparison was not done within {timeout_s:g} s (--timeout): {len(pairs)} of "
                        f"{len(self.images)} images of model {model}; use fewer images"
                    )
                answers = (self._caption(send, path, image) for send in (old, new))
                pairs.append(CaptionPair(image.name, *answers))
            found.append(ModelComparison(model, tuple(pairs)))
            for line in found[-1].lines():
                self.say(line)
        return found

    def _caption(self, send: Send, path: str, image: Path) -> CaptionAnswer:
        kind = mimetypes.guess_type(image.name)[0] or ""
        # A caption is compared, so it must not be sampled.
        body, content_type = caption_request(image.read_bytes(), kind, temperature="0")
        headers = {
            "Content-Type": content_type,
            **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
        }

        def timed() -> tuple[Answer, float]:
            began = self.clock.monotonic()
            return send(path, body, headers), self.clock.monotonic() - began

        try:
            answer, seconds = Retry(RETRY_S, self.say, self.clock).run(timed)
        except UnreachableError as error:
            return CaptionAnswer("", str(error))
        if answer.status != HTTPStatus.OK:
            return CaptionAnswer("", f"status {answer.status}{error_code(answer.body)}", seconds)
        try:
            return CaptionAnswer(str(json.loads(answer.body)["caption"]).strip(), "", seconds)
        except (ValueError, KeyError, TypeError):
            return CaptionAnswer("", "the answer has no caption", seconds)


def find_images(directory: Path) -> list[Path]:
    """The images in a directory, by name. Raises UsageError where there is none."""
    found = sorted(p for p in directory.iterdir() if mimetypes.guess_type(p.name)[0] in IMAGE_TYPES)
    if not found:
        raise UsageError(
            f"--compare {directory}: no file there ends in .jpg, .png, .webp or .gif; "
            "name a directory of sample images"
        )
    return found


def shared_models(proposal: Proposal) -> dict[str, str]:
    """The paths for captions of the models that are served before and after."""
    before, after = serve_applications(proposal.before or {}), serve_applications(proposal.after)
    return {
        name: str(app.get("route_prefix") or "/").rstrip("/") + "/caption"
        for name, app in after.items()
        if name in before and name != HOLD
    }


def _check_new_cluster(proposal: Proposal) -> None:
    strategy = (proposal.after["spec"].get("upgradeStrategy") or {}).get("type", "NewCluster")
    if proposal.plan.first or proposal.ray_cluster is None:
        reason = "nothing serves yet"
    elif strategy != "NewCluster":
        reason = f"it needs upgradeStrategy.type NewCluster, not {strategy}"
    elif not proposal.new_cluster:
        reason = "this change starts no new cluster"
    elif not shared_models(proposal):
        reason = "no model is served both before and after"
    else:
        return
    raise RefusedError(f"--compare has nothing to compare: {reason}. Nothing was changed. Deploy without it")
