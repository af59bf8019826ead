# %%
from repro.report.notebook import Report

report = Report.of("diffusion")
report.heading()

# %% [markdown]
# ## What we found

# %%
report.found()

# %% [markdown]
# ## Figures

# %%
report.figures()

# %% [markdown]
# ## Every claim

# %%
report.claims()

# %% [markdown]
# ## Where paper, released code and we differ

# %%
report.deviations()

# %% [markdown]
# ## Verdicts that another protocol would turn

# %%
report.turned()

# %% [markdown]
# ## What the numbers rest on

# %%
report.provenance()
