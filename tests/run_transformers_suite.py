"""
Runs the tests that transformers has for all its models on TimeMAE: `make test-transformers`.

They come with the source distribution of transformers only, so that of the installed version is fetched from the
package index, once. `transformers_suite.py` gives them the models and says what it overrides and why.
"""

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest


ROOT = Path(__file__).resolve().parents[1]
VERSION = version("transformers")
SOURCES = ROOT / ".cache" / f"transformers-{VERSION}"

# What `tests/` of the source distribution imports from folders that the distribution leaves out. The values for the
# configuration differ from the defaults, so that one that is not kept shows.
STAND_INS = {
    "tests.exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "tests.generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "tests.utils.test_configuration_utils": {
        "config_common_kwargs": {
            "architectures": ["TimeMAEModel"],
            "chunk_size_feed_forward": 5,
            "dtype": "float16",
            "id2label": {0: "walking"},
            "is_encoder_decoder": True,
            "label2id": {"walking": 0},
            "output_attentions": True,
            "output_hidden_states": True,
            "problem_type": "regression",
            "return_dict": False,
        }
    },
}


def fetch_sources() -> bool:
    """Puts the source distribution into the cache, as a whole or not at all; False if no index can be reached."""
    if SOURCES.is_dir():
        return True
    SOURCES.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SOURCES.parent) as directory:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
        command += ["--dest", directory, f"transformers=={VERSION}"]
        pip = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if "(from versions: none)" in pip.stderr:
            return False
        if pip.returncode:
            sys.exit(pip.stderr)
        (archive,) = Path(directory).glob("transformers-*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(directory, filter="data")
        unpacked = Path(directory) / SOURCES.name
        (unpacked / "tests" / "__init__.py").touch()  # the distribution leaves it out, too
        unpacked.rename(SOURCES)
    return True


def main() -> int:
    if not fetch_sources():
        print(f"skipped: no package index in reach has the source distribution of transformers {VERSION}")
        return 0
    sys.path.insert(0, str(SOURCES))
    for name, attributes in STAND_INS.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(attributes)
    # The suite has markers of its own, which --strict-markers in `addopts` would refuse.
    options = ["--override-ini=addopts=-ra", "-Wignore::pytest.PytestUnknownMarkWarning"]
    return pytest.main([str(ROOT / "tests" / "transformers_suite.py"), *options, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
