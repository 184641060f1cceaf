"""The acts of a call that a person writes down for ``jupyter keyless policy explain``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from keyless.protocol.calls import SDK
from keyless_sidecar.calls.naming import find_operation
from keyless_sidecar.policy.acts import Act
from keyless_sidecar.policy.acts_from import acts_for_aws
from keyless_sidecar.policy.aws_parameters import NotInModel, from_call

__all__ = ["acts_of_call"]


def acts_of_call(words: Sequence[str], facts: Mapping[str, Any]) -> tuple[Act, ...]:
    """The acts of ``SERVICE OPERATION [PARAMETERS]``; parameters are a JSON object.

    Args:
        words: as above.
        facts: ``credential``, ``region``, ``account`` …

    Raises:
        NotInModel: AWS has no such operation or parameter, or the words are something else.
    """
    if not 2 <= len(words) <= 3:
        raise NotInModel(f"A call is written {SDK} SERVICE OPERATION '{{\"Parameter\": …}}'.")
    try:
        parameters = json.loads(words[2]) if len(words) == 3 else {}
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise NotInModel("The parameters of a call are a JSON object.")
    model = find_operation(words[0], words[1])
    given = {"delivery": "broker", "isolated": True, **facts}
    return acts_for_aws(model, from_call(model, parameters), tool=SDK, **given)
