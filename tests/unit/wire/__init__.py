"""The wire codecs against captures of real rings, against hand-built layouts, and against damaged input."""
