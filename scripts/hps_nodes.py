"""Door of Automatic1111 and Forge: loads the pack under a name of its own and hands the host its scripts."""

import importlib
import importlib.util
import sys
from pathlib import Path

NAME, ROOT = "hps_pack", Path(__file__).resolve().parents[1]
if NAME not in sys.modules:
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
doors = importlib.import_module(f"{NAME}.hpskit_webui.doors")
doors.register()
HpsScript = doors.HpsScript
HpsExtras = doors.HpsExtras
HpsCompare = doors.HpsCompare
