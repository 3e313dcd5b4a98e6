"""Running a claim of examples/from_rnn_to_transformer.py from a test."""

import importlib.util
import json


def load_program(name):
    """The script as a module, from beside `claims`."""
    path = importlib.util.find_spec("claims").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location(name, f"{path}/../{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


program = load_program("from_rnn_to_transformer")
CLAIMS = program.CLAIMS


def run(name, folder, capsys):
    """The numbers and the words of a claim at its small setting, through the command line."""
    assert program.main(["--only", name, "--quick", "--workers", "1", "--out", str(folder)]) == 0
    numbers = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    printed = capsys.readouterr().out
    words = CLAIMS[name].conclusion(numbers)
    assert words in " ".join(printed.split())
    for table in CLAIMS[name].tables(numbers):
        assert all(row[0] in printed for row in table.rows)
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return numbers, words
