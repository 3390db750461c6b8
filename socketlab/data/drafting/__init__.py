"""From a folder of somebody's images to the manifest that describes it."""
