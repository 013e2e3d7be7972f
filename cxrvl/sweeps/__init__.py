"""How do many runs get computed: on this machine, on a cluster, or in a search?"""
