alter table payments drop column pattern;
