"""From an address to a folder of a data set's files: found, downloaded, verified, unpacked."""
