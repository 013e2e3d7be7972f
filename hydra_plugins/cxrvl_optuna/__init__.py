"""How does `hydra/sweeper=cxrvl_optuna` reach the search in cxrvl.sweeps.search?"""
