"""What the services of one node share, and no application imports.

How a service starts (`service`), its log (`logs`), locks (`instance`), supervision, placement on processors, memory,
and the compiled modules.
"""
