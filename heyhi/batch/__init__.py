"""Many command lines: a script becomes runs, each once, and a driver carries out what is left of them.

batch.sh ─capture, grid─▶ command lines ─entries─▶ runs, which needs which ─agenda─▶ what is left ─drivers─▶

stored: what was captured last, for looking; listing: an agenda as text.
"""
