"""`python -m signprep.pipeline.cli` is `signprep`: for processes that start others, wherever the script lies."""

from signprep.pipeline.cli import main

if __name__ == "__main__":
    main()
