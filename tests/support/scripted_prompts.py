"""A person at a terminal, scripted."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ScriptedPrompts:
    """Answers hidden prompts from a list, in order, and confirms everything or nothing; remembers what it was asked."""

    secrets: list[str] = field(default_factory=list)
    confirms: bool = False
    asked: list[str] = field(default_factory=list)

    def confirm(self, question: str) -> bool:
        """Answer a yes-or-no question."""
        self.asked.append(question)
        return self.confirms

    def hidden(self, question: str, *, optional: bool = False) -> str:
        """Answer with the next secret; an optional question is left empty when none is left."""
        self.asked.append(question)
        return self.secrets.pop(0) if self.secrets or not optional else ""
