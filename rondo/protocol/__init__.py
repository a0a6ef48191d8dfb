"""The contracts between processes: one file for each pair that talks, each shape declared once. No I/O.

| module | who talks |
|---|---|
| `totem_reader` | totem and cpg, which reads totem's log |
| `cpg_gateway` | cpg and the gateway |
| `sam_gateway` | sam and the gateway |
| `client_gateway` | a client and the gateway |

`requests`, `events` and `batch` are what rides in the blobs that the gateway passes on unread. `kinds`, `codes` and
`envelope` are common to all. docs/PROTOCOL.md and docs/PROTOCOL-CLIENT.md describe them for other languages.
"""
