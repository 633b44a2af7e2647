"""Inside the locks: chooses the code of an answer, runs it, then its tests.

It keeps what it needs of Python in names of its own, puts the builtins back after the answer's
module has run, and speaks through a pipe that nothing an answer prints goes into. An answer that
exits, however, or that breaks standard output, has not passed. One that goes looking for this
frame can still say that it has: they are one process.
"""

from __future__ import annotations

import _ast
import builtins
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PARSE = 0x400  # PyCF_ONLY_AST; `import ast` costs 4 ms
CUTS = 20  # lines at which a completion that runs on may be cut, before it is given up
NOTE = 200


def run(job: dict[str, Any], said: int, token: int) -> None:
    """Runs the answer and says what passed. Does not return."""
    write, leave, read = os.write, os._exit, os.read
    try:
        program = _program(job)
    except Exception as error:  # SyntaxError, ValueError, RecursionError, MemoryError
        write(said, b"\n" + f"does not parse: {_words(error)}".encode("utf-8", "replace"))
        leave(1)
    if job["kind"] == "program":
        leave(_main(program, lambda note: write(said, b"\n" + note)))
    flags, note = _tested(program, job)
    write(said, read(token, 32) + flags + b"\n" + note)
    leave(0)


def _main(program: Any, say: Callable[[bytes], object]) -> int:
    """The answer as a program of its own; its exit code."""
    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    module.__dict__["__builtins__"] = builtins
    try:
        exec(program, module.__dict__)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        say(_bytes(error))
        code = 1
    else:
        code = 0
    try:
        sys.stdout.flush()
    except BaseException as error:
        say(_bytes(error))
        code = code or 1
    return code & 255


def _tested(program: Any, job: dict[str, Any]) -> tuple[bytes, bytes]:
    """b"1" or b"0" for each test, and what the first that failed raised."""
    run, build, known = exec, compile, dict(vars(builtins))
    tests, entry = job["tests"], job["entry"]
    module = type(sys)("answer")
    sys.modules["answer"] = module  # where dataclasses and pickle look
    try:
        run(program, module.__dict__)
    except BaseException as error:
        return b"0" * len(tests), _bytes(error)
    vars(builtins).update(known)
    scope = {**module.__dict__, "__builtins__": builtins}
    flags, note = b"", b""
    for number, test in enumerate(tests):
        try:
            run(build(test, f"<test {number + 1}>", "exec", dont_inherit=True), scope)
            if entry:
                scope["check"](module.__dict__[entry])
        except BaseException as error:
            flags += b"0"
            note = note or f"test {number + 1}: ".encode() + _bytes(error)
        else:
            flags += b"1"
    return flags, note


def _program(job: dict[str, Any]) -> Any:
    """The compiled code of the answer, after the code of its prompt.

    It is the first piece that defines a name the tests use; failing that, one that goes on where
    the prompt's code ends; failing that, the first that parses. Raises: what `compile` raises on
    the first.
    """
    wanted = _wanted(job)
    context = next((one for one in job["context"] if wanted & _defined(one)), "")
    pieces: list[str] = job["pieces"]
    chosen = next((one for one in pieces if wanted & _defined(one)), None)
    if chosen is None and context:
        for piece in pieces:
            if piece[:1].isspace() or job["completion"]:
                return _completed(context, piece)
    if chosen is None:
        chosen = next((one for one in pieces if _parses(one)), pieces[0])
    return _compiled(f"{context}\n\n{chosen}" if context else chosen)


def _completed(context: str, piece: str) -> Any:
    """A completion, cut where it stops being code: a base model runs on."""
    lines = piece.split("\n")
    before = context.count("\n") + 1
    for _ in range(CUTS):
        try:
            return _compiled(context + "\n" + "\n".join(lines))
        except SyntaxError as error:
            kept = (error.lineno or 0) - before - 1
            if not 0 < kept < len(lines):
                raise
            lines = lines[:kept]
    return _compiled(context + "\n" + "\n".join(lines))


def _compiled(source: str) -> Any:
    return compile(source, "<answer>", "exec", dont_inherit=True)


def _parses(source: str) -> Any:
    """Its tree, or None."""
    try:
        return compile(source, "<answer>", "exec", PARSE, dont_inherit=True)
    except Exception:
        return None


def _wanted(job: dict[str, Any]) -> set[str]:
    """The names that the tests take from the answer."""
    if job["entry"]:
        return {job["entry"]}
    used: set[str] = set()
    made: set[str] = set(dir(builtins))
    waiting = [tree for test in job["tests"] if (tree := _parses(test))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _ast.Name):
            (used if isinstance(node.ctx, _ast.Load) else made).add(node.id)
        elif isinstance(node, _ast.alias):
            made.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, _ast.FunctionDef | _ast.ClassDef):
            made.add(node.name)
        for field in node._fields:
            value = getattr(node, field, None)
            found = value if isinstance(value, list) else [value]
            waiting += [one for one in found if isinstance(one, _ast.AST)]
    return used - made


def _defined(source: str) -> set[str]:
    """The names that a source gives at its top level; none where it does not parse."""
    names: set[str] = set()
    for node in getattr(_parses(source), "body", ()):
        if isinstance(node, _ast.FunctionDef | _ast.AsyncFunctionDef | _ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, _ast.Assign):
            names |= {one.id for one in node.targets if isinstance(one, _ast.Name)}
        elif isinstance(node, _ast.AnnAssign) and isinstance(node.target, _ast.Name):
            names.add(node.target.id)
    return names


def _bytes(error: BaseException) -> bytes:
    return _words(error).encode("utf-8", "replace")


def _words(error: BaseException) -> str:
    """An exception in one line. Its own `__str__` is tested code as well."""
    name = type(error).__name__
    try:
        text = str(error)[:NOTE]
    except BaseException:
        text = ""
    return " ".join(f"{name}: {text}".split()) if text else name
