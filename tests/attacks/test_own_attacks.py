"""Our attack cells: nothing of a secret gets out of a Keyless kernel, in any form, anywhere.

Each cell also runs once in the unprotected kernel, where it must win: an attack that can't win
proves nothing.
"""

from __future__ import annotations

import pytest
from tests.support import leaky_tool
from tests.support.attack_cells import Attack, load
from tests.support.hunt import Hunter
from tests.support.kept import Kept
from tests.support.kernels import Cell, Session, Stage, clear, furnish, protected

ATTACKS = [
    pytest.param(
        attack, id=attack.name, marks=pytest.mark.attack(wall=attack.wall, title=attack.title)
    )
    for attack in load()
]

#: Ways of printing that no search for values can stop: only a tool that holds no secret does.
ONLY_A_PLACEHOLDER_STOPS = {
    "interleaved": "each stream holds only pieces of four characters; who knows how, joins them",
}

MODES = [*leaky_tool.PRINTED, "stderr", "split", "interleaved", "trace"]


def got(hunter: Hunter, cell: Cell, session: Session, world: Stage) -> list[str]:
    """Everything that an attack gained."""
    finds = hunter.messages([*cell.messages, cell.reply]) + hunter.tree(session.workspace)
    finds += hunter.data(bytes(world.listener.received), "the attacker's listener")
    gains = [line for line in cell.text.splitlines() if line.startswith("WON:")]
    return gains + [str(find) for find in finds]


def run(attack: Attack, session: Session, world: Stage) -> Cell:
    """Run an attack with an empty workspace and, where it reaches it, a tidy home."""
    clear(session.workspace)
    furnish(world)
    world.listener.received.clear()
    return session.run(attack.cell(world))


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_gets_nothing(attack: Attack, world: Stage, hunter: Hunter, keyless: Kept) -> None:
    session = protected(world) if attack.fresh else keyless.get()
    try:
        cell = run(attack, session, world)
        assert not cell.error
        assert got(hunter, cell, session, world) == []
        assert session.alive()
    finally:
        if attack.fresh:
            session.stop()


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_wins_unprotected(
    attack: Attack, world: Stage, hunter: Hunter, bare: Kept, naked: Kept
) -> None:
    kept = naked if attack.naked else bare
    if attack.fresh:
        kept.drop()
    session = kept.get()
    cell = run(attack, session, world)
    gains = got(hunter, cell, session, world)
    if attack.fresh:
        kept.drop()
    assert gains, f"the attack can't win:\n{cell.text[-2000:]}\n{cell.error}"


def _modes() -> list[object]:
    return [
        pytest.param(
            mode,
            marks=[
                pytest.mark.attack(wall="sanitizer", title=f"a tool prints its secret: {mode}"),
                *(
                    [pytest.mark.xfail(reason=ONLY_A_PLACEHOLDER_STOPS[mode], strict=True)]
                    if mode in ONLY_A_PLACEHOLDER_STOPS
                    else []
                ),
            ],
        )
        for mode in MODES
    ]


PRINT = """
from keyless import secure_exec
done = secure_exec("leaky", [{mode!r}], raise_error=False, quiet=False)
print(done, done.stderr, done.notes, sum(done.redactions.values()), "redactions")
done
"""


@pytest.mark.parametrize("mode", _modes())
def test_printed_secret_is_taken_out(
    mode: str, world: Stage, hunter: Hunter, keyless: Kept
) -> None:
    session = keyless.get()
    cell = session.run(PRINT.format(mode=mode))
    assert not cell.error
    assert hunter.messages(cell.messages) == []
    assert "[redacted:loot]" in cell.text or "withheld" in cell.text, cell.text


@pytest.mark.parametrize("mode", MODES)
def test_printed_secret_is_found_unprotected(mode: str, hunter: Hunter, bare: Kept) -> None:
    cell = bare.get().run(PRINT.format(mode=mode))
    finds = {find.name for find in hunter.messages(cell.messages)}
    assert "leaky" in finds, cell.text
