import { useId } from 'react';
import { ChatPanel, type ChatPanelProps } from './ChatPanel.js';
import { useFollowUp } from './hooks.js';

export interface PostEditorProps extends Pick<ChatPanelProps, 'renderContent'> {
  postId: string;
  value: string;
  onChange(content: string): void;
  label?: string;
}

/** A post's text beside its AI chat, which has something to say once the text has rested. */
export function PostEditor({ postId, value, onChange, label = 'Post', renderContent }: PostEditorProps) {
  const id = useId();
  const { followUp, error } = useFollowUp(postId);
  return (
    <div className="bt-post">
      <div className="bt-post-text">
        <label htmlFor={id}>{label}</label>
        <textarea
          id={id}
          value={value}
          placeholder="Write your post…"
          onChange={(event) => {
            onChange(event.target.value);
            followUp(event.target.value);
          }}
        />
        {error && (
          <p className="bt-error" role="alert">
            {error.message}
          </p>
        )}
      </div>
      <ChatPanel id={postId} title="Assistant" placeholder="Ask about your post" renderContent={renderContent} />
    </div>
  );
}
