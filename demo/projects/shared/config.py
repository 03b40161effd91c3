# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of @@name@@: from the process environment, else from .env and assistant_config.env beside this file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = (".env", "assistant_config.env")
DEFAULTS = {"ASSISTANT_MODEL": "drafts-small", "ASSISTANT_TEMPERATURE": "0.4"}


class ConfigError(Exception):
    """A setting is missing or makes no sense; the message names it."""


@dataclass(frozen=True)
class Config:
    """What the application needs to know, checked."""

    database_name: str
    database_host: str
    database_user: str
    core_url: str
    secret_key: str
    assistant_model: str
    assistant_temperature: float


def load(environment: Mapping[str, str] | None = None, directory: Path = HERE) -> Config:
    """Read and check the settings; the process's own environment goes before the files.

    :raises ConfigError: when one is missing or wrong.
    """
    environment = os.environ if environment is None else environment
    values = dict(DEFAULTS)
    for name in FILES:
        path = directory / name
        if path.exists():
            values.update(_read(path))
    names = [field.upper() for field in Config.__dataclass_fields__]
    values.update({name: environment[name] for name in names if environment.get(name)})
    missing = [name for name in names if not values.get(name)]
    if missing:
        raise ConfigError(f"not set: {', '.join(missing)}")
    if not values["CORE_URL"].startswith(("http://", "https://")):
        raise ConfigError(f"CORE_URL is no address: {values['CORE_URL']}")
    try:
        temperature = float(values["ASSISTANT_TEMPERATURE"])
    except ValueError as error:
        raise ConfigError(f"ASSISTANT_TEMPERATURE is no number: {values['ASSISTANT_TEMPERATURE']}") from error
    texts = {name.lower(): values[name] for name in names if name != "ASSISTANT_TEMPERATURE"}
    return Config(assistant_temperature=temperature, **texts)


def _read(path: Path) -> dict[str, str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _equals, value in pairs}
