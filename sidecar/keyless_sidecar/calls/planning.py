"""Whether a call may be made, and how: from a ``Call`` to a :class:`CallPlan` or a ``Refused``.

No value of a credential is fetched here, nothing is sent, nothing is recorded; that is
:mod:`keyless_sidecar.calls.runner`'s part.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.model import OperationModel

from keyless.protocol.calls import SDK, Call
from keyless.protocol.messages import CellInfo
from keyless_sidecar.calls.content import Owner, Upload
from keyless_sidecar.calls.naming import find_operation, find_waiter, paginates
from keyless_sidecar.calls.parameters import resolve, validate
from keyless_sidecar.execution.deciding import judge
from keyless_sidecar.execution.delivery import select
from keyless_sidecar.execution.time_limits import time_limit
from keyless_sidecar.policy.acts import Act
from keyless_sidecar.policy.acts_from import acts_for_aws, operation_model
from keyless_sidecar.policy.aws_parameters import NotInModel, from_call
from keyless_sidecar.policy.engine import CedarPolicy
from keyless_sidecar.policy.refusal import refusal_text
from keyless_sidecar.tools import Refused, Tool
from keyless_sidecar.tools.verdict import shown
from keyless_sidecar.vault import EntryInfo
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

__all__ = ["DEFAULT_TIMEOUT", "CallPlan", "CallPlanner", "Waiting", "facts_of"]

#: Seconds, where a call names none.
DEFAULT_TIMEOUT = 300.0
#: Characters of parameters that are looked at in no time, and names that are remembered.
_LITTLE, _MOST_KNOWN = 4096, 1024
#: What bindings and policy know calls by; there is no such program.
TOOL = Tool(SDK, "", delivery="proxy", description="calls that the sidecar makes itself")
_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+){0,5}")


@dataclasses.dataclass(frozen=True)
class Waiting:
    """A waiter that is polled after the call.

    Args:
        name: as it was asked for.
        config: of the service's waiter model.
        operation: that it polls.
        parameters: of that operation, out of the call's.
    """

    name: str
    config: Mapping[str, Any]
    operation: OperationModel
    parameters: Mapping[str, Any] = dataclasses.field(repr=False)


@dataclasses.dataclass
class CallPlan:
    """An allowed call.  Close it.

    Args:
        operation: botocore's model of it.
        parameters: as botocore takes them.
        credential: the entry that it is signed with.
        region: as asked for; empty: the credential's.
        timeout: seconds.
        acts: what it does.
        rule: of the policy, that allows it.
        uploads: open files in the parameters.
        save: member of the answer → path relative to the workspace.
        waiting: what is waited for, if anything.
    """

    operation: OperationModel
    parameters: dict[str, Any] = dataclasses.field(repr=False)
    credential: EntryInfo
    region: str
    timeout: float
    acts: tuple[Act, ...] = ()
    rule: str = ""
    paginate: bool = False
    uploads: list[Upload] = dataclasses.field(default_factory=list)
    save: dict[str, str] = dataclasses.field(default_factory=dict)
    waiting: Waiting | None = None

    @property
    def service(self) -> str:
        """The service model's name."""
        name: str = self.operation.service_model.service_name
        return name

    @property
    def name(self) -> str:
        """As the policy and the audit name it, ``aws:lambda:Invoke``."""
        return f"aws:{self.service}:{self.operation.name}"

    @property
    def only_waits(self) -> bool:
        """Whether the call itself is what is polled, so that only the waiting is done."""
        return self.waiting is not None and self.waiting.operation.name == self.operation.name

    def close(self) -> None:
        """Free the files.  Idempotent."""
        for upload in self.uploads:
            upload.close()


class CallPlanner:
    """Decides on calls.  May be called in any thread; it blocks where it isn't :meth:`is_quick`.

    Args:
        workspace: for what parameters name.
        policy: says what may be done.
        owner: whose files they are.
        attended: whether there is a person to ask.  They are asked when the request is made, about
            the very request.
    """

    def __init__(
        self,
        workspace: WorkspaceRoot,
        policy: CedarPolicy,
        owner: Owner,
        attended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._attended = attended
        self._workspace = workspace
        self._owner = owner
        self._policy = policy
        self._known: set[tuple[str, str]] = set()  # operations whose models are read

    def is_quick(self, request: Call) -> bool:
        """Whether :meth:`plan` neither reads anything nor has much to look at."""
        values = request.parameters.values()
        return (
            (request.service, request.operation) in self._known
            and not (request.save or request.wait or request.paginate)
            and all(isinstance(value, str | int | float | None) for value in values)
            and sum(len(value) for value in values if isinstance(value, str)) <= _LITTLE
        )

    def plan(self, request: Call, infos: Sequence[EntryInfo]) -> CallPlan:
        """Decide.

        Args:
            request: as it came.
            infos: what the vault holds.

        Raises:
            Refused: it may not be made.
        """
        if request.refused:
            raise Refused("InvalidRequest", request.refused, "request.malformed")
        try:
            model = find_operation(request.service, request.operation)
        except NotInModel as error:
            raise Refused("InvalidRequest", str(error), "request.operation") from None
        plan = CallPlan(
            model,
            {},
            _credential(request, infos),
            _region(request.region),
            time_limit(request.timeout, DEFAULT_TIMEOUT),
        )
        try:
            self._fill(plan, request)
            plan.acts = _acts(plan, request.cell)
            decided = judge(self._policy, plan.acts, later=True)
            if decided.asks and not self._attended():
                decision, act = decided.asks[0]
                raise Refused("PolicyDenied", refusal_text(decision, act), decision.rule)
            plan.rule = decided.rule
        except BaseException:
            plan.close()
            raise
        if len(self._known) < _MOST_KNOWN:
            self._known.add((request.service, request.operation))
        return plan

    def _fill(self, plan: CallPlan, request: Call) -> None:
        model = plan.operation
        plan.parameters = resolve(
            model,
            request.parameters,
            self._workspace,
            request.cwd,
            self._owner,
            plan.uploads.append,
        )
        validate(model, plan.parameters)
        plan.paginate = request.paginate
        if request.paginate and not paginates(model):
            raise Refused(
                "InvalidRequest",
                f"The answer of {model.name} doesn't come in pages; leave --paginate out.",
                "request.paginate",
            )
        plan.save = {
            member: self._target(model, member, path, request.cwd)
            for member, path in request.save.items()
        }
        if plan.save and (request.paginate or request.wait):
            raise Refused("InvalidRequest", "--save goes with a single call only.", "request.save")
        if request.wait:
            plan.waiting = _waiting(plan, request.wait)

    def _target(self, model: OperationModel, member: str, path: str, cwd: str) -> str:
        members = model.output_shape.members if model.output_shape is not None else {}
        content = [name for name, shape in members.items() if shape.type_name in ("blob", "string")]
        if member not in content:
            known = f"; it has {', '.join(content)}" if content else ""
            raise Refused(
                "InvalidRequest",
                f"The answer of {model.name} has no content called {shown(member)}{known}.",
                "request.save",
            )
        try:
            rel = self._workspace.relative(path, cwd)
            if not rel:
                raise WorkspaceError("not-regular", "is a folder")
            self._workspace.check_output(rel)
        except WorkspaceError as error:
            raise Refused(
                "InvalidRequest", f"The file {shown(path)} {error.message}.", "request.save"
            ) from None
        return rel


def facts_of(cell: CellInfo) -> dict[str, Any]:
    """What the policy gets to know of each act of a call, beside the act itself."""
    return {
        "delivery": "broker",
        "isolated": True,
        "cell_hash": cell.cell_hash,
        "execution_count": cell.execution_count,
    }


def _acts(plan: CallPlan, cell: CellInfo) -> tuple[Act, ...]:
    common: dict[str, Any] = {
        "tool": SDK,
        "credential": plan.credential.name,
        "credential_kind": plan.credential.kind,
        "region": plan.region,
        **facts_of(cell),
    }
    acts: tuple[Act, ...] = ()
    try:
        if not plan.only_waits:
            given = from_call(plan.operation, plan.parameters)
            acts = acts_for_aws(plan.operation, given, **common)
        if plan.waiting is not None:
            given = from_call(plan.waiting.operation, plan.waiting.parameters)
            acts += acts_for_aws(plan.waiting.operation, given, waits=True, **common)
    except NotInModel as error:
        raise Refused("PolicyDenied", str(error), "policy.model") from None
    return acts


def _credential(request: Call, infos: Sequence[EntryInfo]) -> EntryInfo:
    usable = [info for info in infos if info.kind == "aws"]
    chosen = select(TOOL, request.credentials, usable)
    if len(chosen) == 1:
        return chosen[0]
    if chosen or request.credentials:
        raise Refused(
            "InvalidRequest", "A call is signed with one credential.", "credentials.ambiguous"
        )
    raise Refused(
        "PolicyDenied",
        f"No AWS credential is bound to {SDK}, which is what secure_call uses; a person binds one "
        f"by `jupyter keyless vault add --tool {SDK}`.",
        "credentials.unbound",
    )


def _region(region: str) -> str:
    if region and not _REGION.fullmatch(region):
        raise Refused(
            "InvalidRequest", f"{shown(region)} is not the name of a region.", "request.region"
        )
    return region


def _waiting(plan: CallPlan, word: str) -> Waiting:
    try:
        config = find_waiter(plan.service, word)
        polled = operation_model(plan.service, config["operation"])
    except NotInModel as error:
        raise Refused("InvalidRequest", str(error), "request.wait") from None
    shape = polled.input_shape
    members = shape.members if shape is not None else {}
    given = {name: value for name, value in plan.parameters.items() if name in members}
    validate(polled, given)
    return Waiting(word, config, polled, given)
