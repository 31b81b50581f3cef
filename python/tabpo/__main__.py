"""`python -m tabpo`: the program that came with this package."""

import os
import subprocess
import sys
import sysconfig


def program():
    """The path of the program; it lies where the package's scripts were installed."""
    name = "tabpo" + sysconfig.get_config_var("EXE") if os.name == "nt" else "tabpo"
    user = sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    for folder in (sysconfig.get_path("scripts"), os.path.dirname(sys.executable), user):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(f"{name} is not among the scripts of {sys.prefix}; install the package again")


def main():
    command = [program(), *sys.argv[1:]]
    if os.name == "nt":
        sys.exit(subprocess.run(command).returncode)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
