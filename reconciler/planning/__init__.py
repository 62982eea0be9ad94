"""From drift to a plan that may be applied. It only decides; it changes nothing."""
