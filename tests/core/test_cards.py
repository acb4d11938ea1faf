from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpskit import cards, paths
from hpskit.errors import CardError
from hpskit.types import MODES

IDS = {
    "hps-v2.1", "hps-v2.0", "pickscore-v1", "clip-vit-h-14", "clip-vit-l-14", "aesthetic-v2", "hps-tiny-shapes",
    "hps-tiny-judge",
}  # fmt: skip


def raw(card_id: str = "hps-v2.1") -> dict:
    return json.loads((paths.models_dir() / f"{card_id}.json").read_text(encoding="utf-8"))


def test_all_scorers_have_a_card_named_like_its_file():
    loaded = cards.load_cards()
    assert set(loaded) >= IDS
    assert all(made.origin == f"{made.id}.json" for made in loaded.values())
    assert list(loaded) == sorted(loaded)


def test_cards_are_read_once():
    assert cards.load_cards() is cards.load_cards()


def test_files_of_repositories_are_pinned_and_hashed():
    files = [file for made in cards.load_cards().values() for file in made.files if not file.shipped]
    assert len(files) == 7
    for file in files:
        assert file.sha256 and file.bytes and file.revision
        if file.repo is None:
            assert file.revision in file.url


def test_a_file_has_one_description_in_all_cards():
    seen: dict[str, tuple] = {}
    for made in cards.load_cards().values():
        for file in made.files:
            known = (file.repo, file.revision, file.path, file.url, file.bytes, file.sha256)
            assert seen.setdefault(file.name, known) == known


def test_no_name_leads_to_two_scorers():
    own = [
        name.lower()
        for made in cards.load_cards().values()
        for file in made.files
        if file.role != "backbone"
        for name in (file.name, *file.also)
    ]
    assert len(own) == len(set(own))


def test_the_aesthetic_scorer_shares_its_backbone_with_clip():
    head, backbone = cards.card("aesthetic-v2").files
    assert (head.role, backbone.role) == ("head", "backbone")
    assert backbone.name == cards.card("clip-vit-l-14").files[0].name


def test_the_miniature_is_shipped_and_says_what_it_is():
    tiny = cards.card("hps-tiny-shapes")
    assert tiny.files[0].shipped and tiny.preprocess == "reference"
    assert "miniature" in tiny.domain and "never art" in tiny.domain


def test_preprocessings_are_known_modes():
    assert {made.preprocess for made in cards.load_cards().values()} <= set(MODES)
    assert cards.card("hps-v2.1").preprocess == "reference"
    assert cards.card("pickscore-v1").preprocess == "crop"


def test_an_unknown_id_lists_the_known_ones():
    with pytest.raises(CardError) as caught:
        cards.card("hps-v3")
    assert "hps-v3" in str(caught.value) and all(known in str(caught.value) for known in IDS)


@pytest.mark.parametrize(
    ("name", "card_id"),
    [
        ("HPS_v2.1_compressed.pt", "hps-v2.1"),
        ("hps_V2.1_COMPRESSED.pt", "hps-v2.1"),
        ("/models/PickScore_v1/model.safetensors", "pickscore-v1"),
        (r"D:\models\clip-vit-large-patch14.safetensors", "clip-vit-l-14"),
        ("model.safetensors", None),
        ("", None),
    ],
)
def test_by_filename(name, card_id):
    found = cards.by_filename(name)
    assert (found.id if found else None) == card_id


def test_by_sha256_tells_apart_what_names_confuse():
    # The authors' demo space has the v2.0 weights under the name HPS_v2_1.pt.
    digest = "07cb0d20626232204ca3a6ec53ff5984e7e53212a8a7b0e0ec2bac1bdaf125a1"
    assert cards.by_sha256(digest.upper()).id == "hps-v2.0"
    assert cards.by_filename("HPS_v2_1.pt") is None
    assert cards.by_sha256("0" * 64) is None


@pytest.mark.parametrize(
    ("where", "value", "named"),
    [
        ("id", "HPS v2", "id"),
        ("family", "blip", "family"),
        ("version", "", "version"),
        ("files", [], "files"),
        ("source", "http://example.org", "source"),
        ("preprocess", "stretch", "preprocess"),
        ("mean", [0.1, 0.2], "mean"),
        ("std", [0.1, 0.2, 0], "std"),
        ("std", [0.1, 0.2, float("nan")], "std"),
        ("within_prompt_sd", -1, "within_prompt_sd"),
        ("within_prompt_sd", True, "within_prompt_sd"),
        ("score_mean", "28", "score_mean"),
        ("files.0.name", "../x.pt", "files[0].name"),
        ("files.0.name", "C:x.pt", "files[0].name"),
        ("files.0.role", "tokenizer", "files[0].role"),
        ("files.0.repo", "xswu", "files[0].repo"),
        ("files.0.revision", "main", "files[0].revision"),
        ("files.0.revision", None, "files[0].revision"),
        ("files.0.path", "a/../../b", "files[0].path"),
        ("files.0.path", "/etc/x", "files[0].path"),
        ("files.0.url", "http://example.org/x.pt", "files[0].url"),
        ("files.0.bytes", 0, "files[0].bytes"),
        ("files.0.bytes", 1.5, "files[0].bytes"),
        ("files.0.sha256", "07cb0d20", "files[0].sha256"),
        ("files.0.also", ["a/b/c.pt"], "files[0].also"),
    ],
)
def test_a_malformed_field_is_named(where, value, named):
    data = raw()
    *parents, key = where.split(".")
    target = data
    for parent in parents:
        target = target[int(parent)] if isinstance(target, list) else target[parent]
    target[key] = value
    with pytest.raises(CardError) as caught:
        cards.parse_card(data, "bad.json")
    assert str(caught.value).startswith(f"bad.json: the field {named} must be")


def test_missing_and_unknown_fields_are_named():
    data = raw()
    del data["licence"]
    with pytest.raises(CardError, match=r"bad\.json: the field licence is missing"):
        cards.parse_card(data, "bad.json")
    with pytest.raises(CardError, match=r"bad\.json: unknown field files\[0\]\.md5"):
        data = raw()
        data["files"][0]["md5"] = "x"
        cards.parse_card(data, "bad.json")
    with pytest.raises(CardError, match=r"bad\.json: the card must be an object"):
        cards.parse_card([], "bad.json")


def test_broken_double_and_no_cards(tmp_path, monkeypatch):
    def folder(name: str, **texts: str) -> None:
        (tmp_path / name).mkdir()
        for stem, text in texts.items():
            (tmp_path / name / f"{stem}.json").write_text(text, encoding="utf-8")
        monkeypatch.setattr(cards, "models_dir", lambda: tmp_path / name)

    folder("broken", a="{")
    with pytest.raises(CardError, match=r"a\.json: cannot be read as JSON"):
        cards.load_cards()
    folder("double", a=json.dumps(raw()), b=json.dumps(raw()))
    with pytest.raises(CardError, match=r"b\.json: the id hps-v2\.1 is already used by a\.json"):
        cards.load_cards()
    folder("empty")
    with pytest.raises(CardError, match="installation is incomplete"):
        cards.load_cards()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\\b", "C:x", "nul", "NUL.pt", "com1.bin", "x.", "x ", "a\0b", "a\nb", "a*b", "x" * 201],
)
def test_unsafe_names(name):
    assert not cards.is_safe_name(name)


@given(st.text(min_size=1, max_size=40))
def test_a_safe_name_stays_in_its_folder(name):
    folder = Path("/models")
    if cards.is_safe_name(name):
        assert (folder / name).parent == folder and (folder / name).name == name


def test_every_card_is_named_in_third_party():
    text = (Path(__file__).parents[2] / "THIRD_PARTY.md").read_text(encoding="utf-8")
    for made in cards.load_cards().values():
        assert f"`{made.id}`" in text
        assert made.files[0].shipped or made.source in text
