"""The vocabulary: byte-pair pieces of leaf texts, and the ids of leaf kinds and roles.

A leaf text is one word for the tokenizer; its first piece carries the byte-level space mark, so a sequence of pieces can be
cut back into leaves. Layout leaves and the markers are single special pieces.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.source.leaves import DEDENT, INDENT, LAYOUT, NEWLINE

PAD, CLS, SEP, END, UNKNOWN = 0, 1, 2, 3, 4
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[END]", "[UNK]", NEWLINE, INDENT, DEDENT)
MAX_TEXT = 48  # characters of a leaf that are read; docstrings and long literals are cut
_MARK = "Ġ"


def role_of(parent: str, field: str) -> str:
    """The role of a leaf: the type of its parent node and the field it fills."""
    return f"{parent}.{field}" if field else parent


class Vocab:
    """Pieces, kinds and roles. Immutable once built; stored as one JSON file."""

    def __init__(self, tokenizer: Tokenizer, kinds: list[str], roles: list[str]) -> None:
        self.tokenizer = tokenizer
        # a string literal may mention a marker: that is text, not a marker
        tokenizer.encode_special_tokens = True
        self.kinds = kinds
        self.roles = roles
        self._kind_ids = {kind: i + 1 for i, kind in enumerate(kinds)}
        self._role_ids = {role: i + 1 for i, role in enumerate(roles)}
        self._special = {text: i for i, text in enumerate(SPECIAL)}
        self.size: int = tokenizer.get_vocab_size()
        self.token_pieces = functools.lru_cache(maxsize=1 << 17)(self._token_pieces)
        table = tokenizer.get_vocab()
        self.starts_leaf = [False] * self.size
        for piece, index in table.items():
            self.starts_leaf[index] = piece.startswith(_MARK) or piece in (NEWLINE, INDENT, DEDENT)

    @staticmethod
    def build(words: Counter[str], kinds: Iterable[str], roles: Iterable[str], size: int) -> Vocab:
        """Train the pieces on counted leaf texts. kinds and roles: most frequent first, cut by the caller."""
        tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
            limit_alphabet=256,
        )

        def stream() -> Iterable[str]:
            for word, count in words.items():
                for _ in range(count):
                    yield word

        tokenizer.train_from_iterator(stream(), trainer)
        return Vocab(tokenizer, list(kinds), list(roles))

    def _token_pieces(self, text: str) -> tuple[int, ...]:
        """Piece ids that spell `text` (cut at MAX_TEXT characters)."""
        special = self._special.get(text)
        if special is not None:
            return (special,)
        return tuple(self.tokenizer.encode(text[:MAX_TEXT], add_special_tokens=False).ids)

    def kind(self, kind: str) -> int:
        """Id of a leaf kind, 0 if unknown."""
        return self._kind_ids.get(kind, 0)

    def role(self, parent: str, field: str) -> int:
        """Id of a role, 0 if unknown."""
        return self._role_ids.get(role_of(parent, field), 0)

    def spell(self, pieces: Iterable[int]) -> str:
        """The leaf text that consecutive pieces spell."""
        ids = list(pieces)
        if len(ids) == 1 and ids[0] < len(SPECIAL):
            return SPECIAL[ids[0]] if SPECIAL[ids[0]] in LAYOUT else ""
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text[1:] if text.startswith(" ") else text

    def same(self, other: Vocab) -> bool:
        """Whether every piece, kind and role has the same number in both."""
        mine, theirs = (
            (vocab.tokenizer.to_str(), vocab.kinds, vocab.roles) for vocab in (self, other)
        )
        return mine == theirs

    def save(self, path: Path) -> None:
        """Write as JSON."""
        data = {
            "tokenizer": json.loads(self.tokenizer.to_str()),
            "kinds": self.kinds,
            "roles": self.roles,
        }
        path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Vocab:
        """Raises ValueError if the file is not a vocabulary of ours."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return Vocab(
                Tokenizer.from_str(json.dumps(data["tokenizer"])), data["kinds"], data["roles"]
            )
        except OSError:
            raise
        except Exception as error:  # tokenizers raises plain Exception for what it cannot read
            raise ValueError(f"{path} is not a vocabulary: {error}") from error
