"""The kinds of stages, one file each. The file of a kind has

- `VERSION`: raise it when the code gives other results for the same settings and inputs;
- `<Kind>Settings`: a frozen dataclass of everything that decides the result, beside the inputs;
- `<Kind>Runtime`: a subclass of `Runtime` with what the stage needs to run and what decides no result, such as paths;
- `stage(...)`: declares a stage of the kind;
- `run(context)`: writes files to `context.out` and returns the facts for the record.
"""
