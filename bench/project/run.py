import heyhi


def main(cfg, task, log_level):
    return {"seed": cfg.seed}


if __name__ == "__main__":
    heyhi.parse_args_and_maybe_launch(main)
