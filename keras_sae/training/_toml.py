import json


def toml(content):
    """A dictionary of plain values as TOML. Tables come after the other values, and the keys `class` and `name` come first."""
    lines = [f"{key} = {_value(content[key])}" for key in _ordered(content) if not isinstance(content[key], dict)]
    for key in _ordered(content):
        if isinstance(content[key], dict):
            lines += ["", f"[{key}]", *(f"{name} = {_value(content[key][name])}" for name in _ordered(content[key]))]
    return "\n".join(lines) + "\n"


def _ordered(keys):
    return sorted(keys, key=lambda key: (key not in ("class", "name"), key))


def _value(value):
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(value[key])}' for key in _ordered(value))} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
