"""The totem process around the ring: transports, files, texts."""
