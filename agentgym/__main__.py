"""`python -m agentgym` is the command line."""

from agentgym.cli import main

if __name__ == "__main__":
    main()
