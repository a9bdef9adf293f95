"""`python -m workbench` is the command line; launchers of many processes need this spelling."""

from workbench.cli import main

if __name__ == "__main__":
    main()
