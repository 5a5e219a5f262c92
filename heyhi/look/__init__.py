"""What runs are, and what came of them, as their folders say. Nothing here executes a project.

run folders ─records─▶ columns ─tables, where─▶ a table ─formats─▶ text, CSV, JSON, HTML, Parquet
                       labels, graph, curves ─report─▶ one HTML page (page/)
            ─status, board─▶ counts, reasons, what to do next
            ─logs, tails, comparison, replay─▶ one run, or two
"""
