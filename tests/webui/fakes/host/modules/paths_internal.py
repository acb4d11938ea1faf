"""Folders of the host: everything lies in the temporary folder of the test."""

from __future__ import annotations

from modules import FOLDER

script_path = str(FOLDER / "webui")
data_path = str(FOLDER / "webui")
models_path = str(FOLDER / "webui" / "models")
extensions_dir = str(FOLDER / "webui" / "extensions")
default_output_dir = str(FOLDER / "webui" / "outputs")
