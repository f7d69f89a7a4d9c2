"""Makes CloudFormation stacks deployable by change set, also repeatedly.

moto's change sets set neither outputs nor new parameters, ignore the defaults of lists and numbers, and
answer a resource's failure in a form that no client can read. An item of a list that a condition removes
stays as null, and the resources of a failed first deployment are not deleted.
"""

from __future__ import annotations

import re
from typing import Any

from moto.cloudformation import models, parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.responses import CloudFormationResponse

from modelbuild_local.aws.cloudformation import resources
from modelbuild_local.aws.patching import replace

_create_change_set = models.CloudFormationBackend.create_change_set
_refuse_same = CloudFormationResponse._validate_different_update
_load_parameters = parsing.ResourceMap.load_parameters
_clean_json = parsing.clean_json


def install() -> None:
    """Patch moto's CloudFormation; call this once, before the server answers."""
    resources.install()
    replace(models.CloudFormationBackend, "create_change_set", _create_change_set_with_all_parameters)
    replace(models.CloudFormationBackend, "execute_change_set", _execute_change_set)
    replace(CloudFormationResponse, "_validate_different_update", _refuse_same_update)
    replace(models.Stack, "stack_parameters", property(_parameters))
    replace(models.Stack, "parameter_list", property(_parameter_list))
    replace(parsing.ResourceMap, "load_parameters", _load_parameters_as_text)
    replace(parsing, "get_references_from_template", references)
    replace(parsing, "clean_json", _clean_json_without_gaps)


def references(template: Any) -> list[str]:
    """Every logical name that a piece of a template refers to, by Ref or inside Fn::Sub and Fn::GetAtt.

    moto knows only Ref, so a changed parameter in Fn::Sub would not change its resource.
    """
    if isinstance(template, dict):
        found = [name for value in template.values() for name in references(value)]
        if isinstance(template.get("Ref"), str):
            found.append(template["Ref"])
        return found
    if isinstance(template, list):
        return [name for item in template for name in references(item)]
    return re.findall(r"\$\{([A-Za-z0-9:]+)", template) if isinstance(template, str) else []


def _clean_json_without_gaps(piece: Any, resources_map: parsing.ResourceMap) -> Any:
    cleaned = _clean_json(piece, resources_map)
    return [item for item in cleaned if item is not None] if isinstance(cleaned, list) else cleaned


def with_defaults(template: dict[str, Any], parameters: dict[str, Any]) -> dict[str, str]:
    """A template's parameters as text, lists joined by commas: the passed values, else the defaults."""
    slots = template.get("Parameters") or {}
    values = {name: parameters.get(name, slot.get("Default")) for name, slot in slots.items()}
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: Any) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _load_parameters_as_text(self: parsing.ResourceMap) -> None:
    # moto converts passed lists and numbers, but not defaults.
    self.input_parameters = with_defaults(self._template, self.input_parameters)
    _load_parameters(self)


def _parameters(self: models.Stack) -> dict[str, str]:
    return dict(self.resource_map.input_parameters)


def _parameter_list(self: models.Stack) -> list[dict[str, str]]:
    hidden = self.resource_map.no_echo_parameter_keys
    return [
        {"ParameterKey": name, "ParameterValue": "****" if name in hidden else value}
        for name, value in _parameters(self).items()
    ]


def _create_change_set_with_all_parameters(
    self: models.CloudFormationBackend, *, template: str, parameters: dict[str, Any], **options: Any
) -> tuple[str, str]:
    # With explicit defaults, a repeated deployment has the same parameters and is no change.
    full = with_defaults(models.Stack.parse_template(template), parameters)
    return _create_change_set(self, template=template, parameters=full, **options)


def _refuse_same_update(self: CloudFormationResponse, *update: Any) -> None:
    # UpdateStack refuses an update that changes nothing; a change set is made, and is FAILED.
    if self._get_action() == "UpdateStack":
        _refuse_same(self, *update)


def _execute_change_set(
    self: models.CloudFormationBackend, change_set_name: str, stack_name: str | None = None
) -> None:
    found = self.describe_change_set(change_set_name)
    if found is None:
        raise ValidationError(stack_name or change_set_name)
    stack, kind = found.stack, found.change_set_type
    stack._add_stack_event(f"{kind}_IN_PROGRESS", resource_status_reason="User Initiated")
    try:
        found.apply()
    except Exception as error:  # noqa: BLE001  # whatever a resource cannot do is the stack's failure
        stack._add_stack_event(f"{kind}_FAILED", resource_status_reason=str(getattr(error, "message", error)))
        stack.status = _roll_back_creation(stack) if kind == "CREATE" else "UPDATE_ROLLBACK_COMPLETE"
        stack._add_stack_event(stack.status)
        found.execution_status = "EXECUTE_FAILED"
        return
    stack.template, stack.parameters = found.template, found.parameters
    stack._parse_template()
    stack.description = stack.template_dict.get("Description")
    stack.output_map = stack._create_output_map()
    stack.status = f"{kind}_COMPLETE"
    stack._add_stack_event(stack.status)
    found.execution_status = "EXECUTE_COMPLETE"


def _roll_back_creation(stack: models.Stack) -> str:
    """Delete the resources of a failed first deployment, except retained ones; returns the stack's status."""
    try:
        # As on AWS, the policy Retain keeps a resource here, and RetainExceptOnCreate does not.
        stack.resource_map.delete()
    except Exception as error:  # noqa: BLE001  # whatever a resource refuses
        stack._add_stack_event(
            "ROLLBACK_FAILED", resource_status_reason=str(getattr(error, "message", error))
        )
        return "ROLLBACK_FAILED"
    return "ROLLBACK_COMPLETE"
