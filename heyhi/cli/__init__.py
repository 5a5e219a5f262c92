"""Command lines: that of run.py, and those of the `heyhi` command. Only this room prints answers.

python run.py ... ─run_py─▶ exit status          heyhi COMMAND ... ─commands─▶ looking, watching, init
a key press ─completion─▶ what the last word may become; sketch and suggestions are a second, fast reader
             of configs, which needs no protobuf; words and shells know the shells
"""
