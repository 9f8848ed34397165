"""What do all the sweeps of a study say together?

``gather`` reads them, ``along`` lines up the arms that differ in one setting, ``figures`` draws, ``words`` says it and
``report`` writes it: one page, the figures and tables of a paper, and what README and the logbook say. From records alone,
without torch.
"""
