"""What the routes do with a request: scores, ranks, refusals in words; the server is a test of the real hosts."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from fakes.web import Web

TINY, JUDGE = "hps-tiny-shapes", "hps-tiny-judge"


def picture(colour: str = "red", kind: str = "PNG") -> str:
    image, stream = Image.new("RGB", (64, 64), "white"), io.BytesIO()
    ImageDraw.Draw(image).ellipse((12, 12, 52, 52), fill=colour)
    image.save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


def huge() -> str:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
    )
    return base64.b64encode(data).decode()


def body(**more: Any) -> dict[str, Any]:
    return {"images": [picture()], "prompt": "a red circle", "scorers": [TINY]} | more


def test_scores_say_what_they_are(web: Web) -> None:
    web.boot()
    images = [picture("red"), picture("blue"), "data:image/png;base64," + picture("red")]
    answer = web.module("api.routes").scoring(body(images=images, prompt="a (red:1.2) circle"))()
    first, second, third = (row["score"] for row in answer["results"])
    assert first == third > second
    [scorer] = answer["scorers"]
    assert scorer["id"] == TINY and len(scorer["checkpoint"]) == 12 and scorer["dtype"] == "float32"
    assert scorer["preprocess"] and scorer["version"]
    assert answer["results"][0]["text"] == "a red circle" and answer["results"][0]["truncated"] is False


def test_every_image_may_have_its_own_prompt(web: Web) -> None:
    web.boot()
    api = web.module("api.routes")
    texts = ["a red circle", "a blue circle", "a blue circle"]
    request = body(images=[picture("red"), picture("blue"), picture("red")], prompts=texts)
    del request["prompt"]
    rows = api.scoring(request)()["results"]
    assert [row["text"] for row in rows] == texts and rows[0]["score"] > rows[2]["score"]
    assert rows[0]["score"] == pytest.approx(api.scoring(body())()["results"][0]["score"], abs=1e-4)


def test_ranks_come_with_the_lead_and_the_chance(web: Web) -> None:
    web.boot()
    images = [picture("blue"), picture("red"), picture("green")]
    answer = web.module("api.routes").ranking(body(images=images, scorers=[TINY, JUDGE], rule="zsum"))()
    rows = answer["results"]
    assert answer["best"] == answer["order"][0] == 1 and answer["rule"] == "zsum" and answer["main"] == TINY
    assert sorted(row["rank"] for row in rows) == [1, 2, 3] and rows[1]["rank"] == 1
    second = answer["order"][1]
    assert rows[1]["margin"] == pytest.approx(rows[1]["score"] - rows[second]["score"])
    assert 0.5 < rows[1]["win_probability"] < 1 and rows[answer["order"][2]]["margin"] is None


CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "a path": (422, {"images": ["/etc/passwd"]}),
    "an address": (422, {"images": ["http://127.0.0.1/x.png"]}),
    "no image": (422, {"images": []}),
    "a number": (422, {"images": [1]}),
    "too many": (413, {"images": [picture()] * 65}),
    "too many pixels": (413, {"images": [huge()]}),
    "another format": (422, {"images": [base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n").decode()]}),
    "cut off": (422, {"images": [base64.b64encode(base64.b64decode(picture())[:60]).decode()]}),
    "a URI of text": (422, {"images": ["data:image/png,abc"]}),
    "no text": (422, {"prompt": " "}),
    "a long text": (422, {"prompt": "x" * 20_001}),
    "a text of numbers": (422, {"prompt": 5}),
    "an unknown word": (422, {"file": "x"}),
    "a scorer twice": (422, {"scorers": [TINY, TINY]}),
    "no scorer": (422, {"scorers": []}),
    "a flag in words": (422, {"clean_prompt": "no"}),
    "both kinds of prompts": (422, {"prompts": ["x"]}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_makes_no_sense_is_refused_in_words(web: Web, case: str) -> None:
    web.boot()
    api, guard = web.module("api.routes"), web.module("api.guard")
    status, change = CASES[case]
    with pytest.raises(guard.Refused) as caught:
        api.scoring(body(**change))()
    assert caught.value.status == status and len(str(caught.value)) > 20


@pytest.mark.parametrize("name", ["../../secret.pt", "/etc/passwd", "nothing.pt"])
def test_no_file_outside_of_the_model_folders_is_read(web: Web, name: str) -> None:
    web.boot()
    with pytest.raises(web.pack("hpskit.errors").CheckpointMissing):
        web.module("api.routes").scoring(body(scorers=[name]))


def test_the_list_tells_what_is_here(web: Web) -> None:
    web.boot()
    rows = {row["id"]: row for row in web.module("api.routes").listed()["scorers"]}
    assert rows[TINY]["ready"] is True and rows["hps-v2.1"]["bytes"] > 1e9


# --- the fence -------------------------------------------------------------------------------------------------------


def request(**headers: str) -> Any:
    return SimpleNamespace(headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ({}, True),
        ({"host": "me:7860", "origin": "http://me:7860"}, True),
        ({"host": "me:7860", "origin": "http://evil.example"}, False),
        ({"host": "me:7860", "origin": "null"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "same-origin", "host": "me", "origin": "https://me"}, True),
    ],
)
def test_pages_of_other_sites_are_refused(web: Web, headers: dict[str, str], fine: bool) -> None:
    guard = web.module("api.guard")
    if fine:
        guard.check_origin(request(**headers))
    else:
        with pytest.raises(guard.Refused):
            guard.check_origin(request(**headers))


def test_a_site_that_the_host_was_started_to_allow_is_allowed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    guard, flags = web.module("api.guard"), web.host("shared").cmd_opts
    monkeypatch.setattr(flags, "cors_allow_origins", "http://friend.example", raising=False)
    guard.check_origin(request(host="me", origin="http://friend.example", sec_fetch_site="cross-site"))
    with pytest.raises(guard.Refused):
        guard.check_origin(request(host="me", origin="http://friend.example.evil", sec_fetch_site="cross-site"))


@pytest.mark.parametrize(("given", "fine"), [("u2:p2", True), ("u1:p1", True), ("u1:p2", False), ("", False)])
def test_the_password_of_the_hosts_api_is_asked_for(
    web: Web, monkeypatch: pytest.MonkeyPatch, given: str, fine: bool
) -> None:
    guard = web.module("api.guard")
    monkeypatch.setattr(web.host("shared").cmd_opts, "api_auth", "u1:p1,u2:p2", raising=False)
    header = request(authorization="Basic " + base64.b64encode(given.encode()).decode()) if given else request()
    if fine:
        guard.check_password(header)
    else:
        with pytest.raises(guard.Refused) as caught:
            guard.check_password(header)
        assert caught.value.status == 401


def test_without_the_hosts_own_api_there_are_no_routes_yet_the_ledger_is_closed(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("starlette")
    monkeypatch.setattr(web.host("shared").cmd_opts, "api", False)
    demo, app = SimpleNamespace(blocked_paths=[]), SimpleNamespace(routes=[])
    web.module("api.routes").add_routes(demo, app)
    assert demo.blocked_paths == [str(web.module("bridge.folders").state_folder())] and not app.routes


def test_the_folder_of_the_ledger_is_closed_once(web: Web) -> None:
    guard, demo = web.module("api.guard"), SimpleNamespace(blocked_paths=[])
    guard.shut(demo)
    guard.shut(demo)
    guard.shut(None)
    assert demo.blocked_paths == [str(web.module("bridge.folders").state_folder())]
