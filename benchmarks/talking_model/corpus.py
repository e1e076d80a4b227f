"""Questions about Python's standard library, with answers from its docstrings (Python Software Foundation License).

The files are parsed and never imported, so the result depends on the release of Python alone.
"""

from __future__ import annotations

import ast
import hashlib
import random
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_MODULES = (
    "argparse ast base64 bisect calendar cmd codecs codeop collections/__init__ configparser contextlib copy csv "
    "dataclasses difflib dis doctest email/message email/utils enum filecmp fileinput fnmatch fractions ftplib "
    "functools getpass gettext glob gzip hashlib heapq hmac html/parser http/client http/cookiejar http/server imaplib "
    "inspect io ipaddress json/__init__ json/decoder json/encoder linecache locale logging/__init__ logging/handlers "
    "lzma mailbox mimetypes netrc numbers opcode optparse os pdb pickle pickletools platform plistlib poplib posixpath "
    "pprint profile pstats py_compile pyclbr queue random reprlib runpy sched secrets selectors shelve shlex shutil "
    "signal smtplib socket socketserver ssl statistics string subprocess symtable tarfile tempfile textwrap threading "
    "timeit tokenize trace traceback tracemalloc turtle types typing unittest/case unittest/mock unittest/suite "
    "urllib/error urllib/parse urllib/request urllib/robotparser uuid warnings wave weakref webbrowser wsgiref/util "
    "xml/dom/minidom xml/sax/handler xmlrpc/client asyncio/base_events asyncio/events asyncio/locks asyncio/queues "
    "asyncio/runners asyncio/streams asyncio/tasks concurrent/futures/_base multiprocessing/context"
)
MODULES = _MODULES.split()
MOST_ENTRIES = 600
SHORTEST, LONGEST = 30, 220
"""Characters of an answer."""
SHARE_REPEATED, SHARE_CHATS = 0.25, 0.2

Message = dict[str, str]


@dataclass(frozen=True)
class Entry:
    """A function or class of the standard library and the first paragraph of its docstring."""

    name: str
    text: str

    def asked(self) -> list[Message]:
        """The question what it does, with its answer."""
        return [_user(f"What does {self.name} do?"), _assistant(self.text)]

    def repeated(self) -> list[Message]:
        """The request to copy the text, as an editor of a document asks for, with its answer."""
        return [_user(f"Repeat this: {self.text}"), _assistant(self.text)]


def entries(most: int = MOST_ENTRIES) -> list[Entry]:
    """Entries of all modules, each answer once, in an order that does not follow the modules."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, Entry] = {}
    for module in MODULES:
        path = root / f"{module}.py"
        if path.is_file():
            for entry in _of(path, module.removesuffix("/__init__").replace("/", ".")):
                found.setdefault(entry.text, entry)
    mixed = sorted(found.values(), key=lambda entry: hashlib.sha256(entry.name.encode()).digest())
    return mixed[:most]


def _of(path: Path, module: str) -> Iterator[Entry]:
    """Entries of one file: its public functions, classes and methods."""
    waiting: list[tuple[str, ast.AST]] = [(module, ast.parse(path.read_text(encoding="utf-8", errors="replace")))]
    while waiting:
        prefix, parent = waiting.pop(0)
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name[0] == "_":
                continue
            name = f"{prefix}.{node.name}"
            text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            if SHORTEST <= len(text) <= LONGEST and text.isascii():
                yield Entry(name, text)
            if isinstance(node, ast.ClassDef):
                waiting.append((name, node))


def lessons(known: Sequence[Entry], seed: int) -> list[list[Message]]:
    """One epoch: each entry asked once, some within a conversation, and a share of all repeated."""
    chance = random.Random(seed)
    order = chance.sample(known, len(known))
    found: list[list[Message]] = []
    while order:
        turns = chance.randint(2, 4) if chance.random() < SHARE_CHATS else 1
        found.append([message for entry in order[:turns] for message in entry.asked()])
        del order[:turns]
    found += [entry.repeated() for entry in chance.sample(known, round(SHARE_REPEATED * len(known)))]
    chance.shuffle(found)
    return found


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
