"""How is a data set shown: on a terminal, and as one page with its radiographs and reports?"""
