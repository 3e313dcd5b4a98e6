// Whether there is nothing to see in a text: toolkit/blank.py in JavaScript.
const isBlank = text => /^[\s\p{Default_Ignorable_Code_Point}\p{Cc}\u2800\ufff9-\ufffb]*$/u.test(text);
