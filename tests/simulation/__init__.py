"""The deterministic simulator: any number of nodes in one thread, in virtual time, everything from one seed.

`world` holds the clock and the nodes, `host` one node around a real `services.totem.ring.Ring`, `network` the links and
what goes wrong on them, `knet_wires` several links between each two nodes (every third seed: `knet_plan`, with faults
of their own: `knet_faults`), `plan` what happens in the run of a seed, `trace` what is written down for the checker,
`marks` which rare paths were taken, `run` one seed or many, `narrate` the story behind `make run`.
"""
