"""What everything cost: the journals of all runs, and what the Models page says of them.

ledgers      the journals, and what each says, kept until it changes
words        sums of them in words, with links to the calls behind
charts       the same drawn: cost by day, times on one scale
calls        single attempts, the latest first
budgets      what is spent of what may be
comparisons  what `karat compare` has found
"""
