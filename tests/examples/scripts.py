"""Calling the scripts of examples/ from tests."""

import pytest
from toolkit import console
from toolkit.program import Program


def caller(main):
    """A function that calls a script with these arguments and returns its exit code."""
    return lambda *arguments: console.run(lambda: main([str(argument) for argument in arguments]))


def unreported(call):
    """``call``, but training ends with its weights: the report, whose pictures and scores take
    longer than so little training, is left out.
    """

    def without(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Program, "finish", lambda *_: None)
            return call(*arguments)

    return without


def refuser(call):
    """A function that calls a script, which must end with code 2 and one line on stderr that has
    ``message``.
    """

    def refused(capsys, message, *arguments):
        capsys.readouterr()
        code = call(*arguments)
        captured = capsys.readouterr()
        assert code == 2, captured
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
        assert message in captured.err, captured.err

    return refused


def write_parallel(folder, languages, splits):
    """A folder of aligned files, ``train.en`` and so on: by split, rows of a text a language."""
    for stem, rows in splits.items():
        for side, language in enumerate(languages):
            text = "".join(f"{row[side]}\n" for row in rows)
            (folder / f"{stem}.{language}").write_text(text, encoding="utf-8")
    return folder
