"""Two data sets beside each other, for the page Compare.

data     what can be compared, and how a URL says it
reading  both of them read, once for every state of their files
figures  what their reports say, and what can be told apart
scores   the scores that the same reward gave on both
pairs    the answers to one prompt
recipes  what their recipes have otherwise
"""
