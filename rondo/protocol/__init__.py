"""The contracts between processes: one file for each pair that talks, each shape declared once. No I/O.

| module | who talks |
|---|---|
| `totem_reader` | totem and cpg, which reads totem's log |
| `totem_control` | totem and control, which reads it, too |
| `cpg_gateway` | cpg and the gateways |
| `sam_gateway` | sam and the gateway |
| `control_gateway` | control and the gateways |
| `client_gateway` | a client and the gateway |

`requests`, `events` and `batch` define the content of the blobs that the gateway passes on unread. `kinds`, `codes`,
`envelope` and, for large payloads, `large` are common to all. docs/PROTOCOL.md and docs/PROTOCOL-CLIENT.md describe the
protocols for other languages.
"""
