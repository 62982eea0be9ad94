# /// script
# dependencies = ["alpha", "eta", "gamma"]
#
# [tool.uv]
# extra-index-url = ["@house@"]
# constraint-dependencies = ["alpha<2"]
# ///
