"""From drift to a plan that may be applied; decides, and changes nothing."""
