"""The names of the standard library's modules, which `sys` knows from Python 3.10 on."""

from __future__ import annotations

import pkgutil
import sys
import sysconfig

if sys.version_info >= (3, 10):
    STDLIB = sys.stdlib_module_names
else:
    _directory = sysconfig.get_path("stdlib")
    _found = pkgutil.iter_modules([_directory, f"{_directory}/lib-dynload"])
    STDLIB = frozenset(module.name for module in _found) | set(sys.builtin_module_names)
