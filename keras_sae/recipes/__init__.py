"""All tuned hyper-parameters: one TOML file per checkpoint (`keras-sae train NAME`), and those of `keras-sae compare`."""
