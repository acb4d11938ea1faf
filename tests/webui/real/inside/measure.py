"""What the scores of a few fixed pictures are in this host; run by test_same_scores.py."""

from __future__ import annotations

import base64
import io
from typing import Any

from webui_inside import client, img2img, mask, scene, txt2img

TINY = "hps-tiny-shapes"
PROMPTS = ("a red circle", "(a blue square:1.3) on green, <lora:nothing:0.5>")


def _encoded(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _route(image: Any, prompt: str) -> float:
    answer = client().post("/hps/v1/score", json={"images": [_encoded(image)], "prompt": prompt, "scorers": [TINY]})
    assert answer.status_code == 200, answer.text
    return float(answer.json()["results"][0]["score"])


def measure() -> dict[str, Any]:
    """Give scores by panel and by route, and the saved files."""
    panel = {"mode": "score", "scorer": TINY}
    made = txt2img(panel, batch_size=2, n_iter=2, save=True)
    painted = img2img(scene(), panel, mask=mask(), save=True)
    best = txt2img({"mode": "best-of-n", "scorer": TINY, "candidates": 4}, save=True)
    first = txt2img({"mode": "best-of-n-first-pass", "scorer": TINY, "candidates": 4}, save=True)
    jobs = {"txt2img": made, "inpaint": painted, "best": best, "first": first}
    assert not any(job.errors for job in jobs.values()), [job.log for job in jobs.values() if job.errors]
    return {
        "scores": {name: job.scores for name, job in jobs.items()},
        "seeds": {name: job.seeds for name, job in jobs.items()},
        "files": [
            [str(file), score] for job in jobs.values() for file, score in zip(job.files, job.scores, strict=True)
        ],
        "route": {prompt: _route(scene(), prompt) for prompt in PROMPTS},
    }
