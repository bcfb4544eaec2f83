"""One TOML file per checkpoint: the only home of tuned hyper-parameters. `keras-sae train NAME` runs one."""
